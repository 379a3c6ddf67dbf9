"""The style that all figures share: sizes, colours, titles, labels, and how a file is written."""
