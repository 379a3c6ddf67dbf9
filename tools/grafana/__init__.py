"""Grafana's dashboards, as code: `python -m tools.grafana.generate` writes them as JSON."""
