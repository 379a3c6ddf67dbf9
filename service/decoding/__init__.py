"""Image decoding, in threads or in isolated processes."""
