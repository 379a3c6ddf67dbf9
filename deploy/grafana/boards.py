"""The dashboards that there are."""

from deploy.grafana.device import DEVICE
from deploy.grafana.model import MODEL
from deploy.grafana.overview import OVERVIEW

BOARDS = (OVERVIEW, MODEL, DEVICE)
