"""Decoding of images, in threads or in isolated processes."""
