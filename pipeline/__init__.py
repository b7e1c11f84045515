"""Order and wiring: joins the other folders into running services."""
