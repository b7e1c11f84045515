"""The analytics core: pure Polars from named table to named table. No I/O, no clock, no settings."""
