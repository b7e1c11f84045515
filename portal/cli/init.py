"""`tcewatch init`: write a settings file with every setting, its default and a comment."""

from pathlib import Path
from typing import Annotated

import typer

from config.errors import BadInputError, Problem
from config.settings import SETTINGS_FILE

TEMPLATE = """\
# Settings of tcewatch. What is commented out shows the default. The environment wins over this file:
# TCEWATCH_MQTT__HOST=broker.example sets [mqtt] host. `tcewatch check` tells everything that is wrong with it.

[site]
name_zh = "工业园区能源监测"
name_en = "Industrial park energy monitoring"
data_dir = "var"                  # journal, readings, derived tables, register; relative to this file
zone = "Asia/Shanghai"            # whose hours and days count
# tables_dir = "tables"           # the site's own dated tables (CSV with a source in every row), beside the shipped ones

[mqtt]                            # the broker that the gateways publish to
host = "127.0.0.1"
port = 1883
protocol = "5"                    # "5" or "3.1.1"
# client_id = "tcewatch-collector"  # fixed: the broker keeps its session while the collector is away
# username = "collector"
# password = ""                   # better: TCEWATCH_MQTT__PASSWORD
# ca_file = "ca.pem"              # TLS
# cert_file = "collector.pem"
# key_file = "collector.key"
# regions = ["+"]                 # whose topics to collect: 6-digit codes, "+" = all
# keepalive_s = 10                # at most 15: a silent cut is noticed within twice that
# batch_messages = 1000           # committed to the journal in one transaction, at most
# linger_ms = 20                  # how long a message may wait for company
# max_payload_bytes = 65536       # larger ones go to quarantine
# access_dir = "/etc/mosquitto"   # the broker's files `passwords` and `acl`, written by `tcewatch gateway enroll`
# gateway_url = "mqtts://mqtt.example:8883"  # what gateways are told to connect to (default: host and port above)

# [[routes]]                      # other formats: topic -> registered gateway, profile, zone
# topic = "MQTT_ENY_NOW"
# enterprise = "91150000MA0EXAMPL0"
# gateway = "kpm-1"
# profile = "kpm33b"              # docs/guide/formats.md lists them
# mapping = "meters.toml"         # of the profiles mapping and sparkplug_b
# time = "arrival"                # a reading without a time stamp counts as of its arrival, as uncertain
# valid = "0"                     # of the profile nhjc: which `valid` means valid
# zone = "Asia/Shanghai"

[store]
readings = "duckdb"               # "duckdb" (one process) or "influxdb" (services may run apart)
# database_url = "postgresql+psycopg://tcewatch@localhost/tcewatch"   # default: SQLite in data_dir

# [store.influxdb]
# url = "http://127.0.0.1:8086"
# org = "tcewatch"
# bucket = "tcewatch"
# token = ""                      # better: TCEWATCH_STORE__INFLUXDB__TOKEN

[screen]
# clock_skew_s = 300              # a reading may be this far ahead of its arrival
# max_age_days = 1096             # older live readings are a wrong clock

[roll]
# interval_s = 2.0                # how often hours and days follow the readings
# evaluate_interval_s = 10.0      # how often energy, intensity and verdicts follow

[retention]
# archive_after_days = 7          # settled days of the journal are packed, and kept for good
# warn_free_mb = 2048             # less free space than this in data_dir raises an alert
# reserve_mb = 256                # with less, messages stay with the broker until there is room

[[alerts.rules]]                  # ratio of a figure to its limit
name = "near-limit"
kind = "limit_ratio"
at_least = 0.95                   # within 5 % of it, an equal value included; `above` leaves that one out
severity = "warning"

[[alerts.rules]]
name = "above-limit"
kind = "limit_ratio"
above = 1.0
severity = "critical"

[[alerts.rules]]                  # forecast of the running year to its limit
name = "forecast-near-limit"
kind = "forecast_ratio"
at_least = 0.95
severity = "warning"

[[alerts.rules]]
name = "forecast-above-limit"
kind = "forecast_ratio"
above = 1.0
severity = "warning"

[[alerts.rules]]                  # by how much of the goal a budget is missed
name = "budget-missed"
kind = "budget_gap"
above = 0.0
severity = "warning"

# [[alerts.rules]]                # an hourly or daily quantity, of what is measured whole
# name = "night-load"
# kind = "quantity"
# grain = "hour"                  # "hour" or "day"
# medium = "electricity"          # and/or enterprise, meter, register
# unit = "kWh"
# above = 50000
# clear_below = 45000

[[alerts.channels]]
kind = "file"
name = "file"
path = "outbox.jsonl"             # below data_dir

[portal]
host = "127.0.0.1"
port = 8765
language = "zh"                   # "zh" or "en"
# session_hours = 12
# secure_cookies = false          # true behind HTTPS

[log]
level = "info"
format = "console"                # "console" or "json"
"""


def command(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(SETTINGS_FILE)) -> None:
    """Write a commented settings file."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise BadInputError([Problem(str(path), "exists already", "Choose another name or move the old file away.")]) from None
    except OSError as error:
        problem = Problem(str(path), f"cannot be written ({error.strerror})", "Choose a folder that exists and can be written.")
        raise BadInputError([problem]) from error
    print(f"Wrote {path}. Edit it, then run `tcewatch check --settings {path}` and `tcewatch user add NAME --role admin`.")
