"""The dashboards that there are."""

from tools.grafana.device_board import DEVICE
from tools.grafana.model_board import MODEL
from tools.grafana.overview_board import OVERVIEW

BOARDS = (OVERVIEW, MODEL, DEVICE)
