"""Shadow versions: they run on a share of the requests, and answer none."""
