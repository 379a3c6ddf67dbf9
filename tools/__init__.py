"""The demonstration, and generators of pictures, samples and dashboards."""
