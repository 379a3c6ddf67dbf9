"""Grafana's dashboards, as code: `python -m tools.grafana.generator` writes them as JSON."""
