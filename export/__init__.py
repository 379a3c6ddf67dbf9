"""Training and export: from an architecture and data to an artifact with its proof."""
