"""What operators run beside the server. Only `grafana` has code: its dashboards are generated."""
