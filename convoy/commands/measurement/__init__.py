"""Parts that the commands which measure, and bench/, share."""
