"""What can be said of a reported quantity of a carrier, and of a batch with its heating value."""

from collections.abc import Mapping
from typing import Final

KINDS: Final = ("bill", "weighbridge", "receipt", "stock_taking", "report")
STOCK_FLOWS: Final = ("opening_stock", "closing_stock")
USUAL_FLOW: Final[Mapping[str, str]] = {  # what a figure of a kind says where it does not name the flow
    "bill": "consumed", "weighbridge": "purchased", "receipt": "purchased", "stock_taking": "closing_stock", "report": "consumed",
}
ORIGINS: Final = ("laboratory", "supplier")
BASES: Final = ("as_received", "dry")
LONGEST_DAYS: Final = 366  # of a figure or a batch: a longer one has a wrong year
