"""Grafana's dashboards, as code: `python -m deploy.grafana.generate` writes them as JSON."""
