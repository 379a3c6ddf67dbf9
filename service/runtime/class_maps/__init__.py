"""Class activation maps of networks that average their last feature maps."""
