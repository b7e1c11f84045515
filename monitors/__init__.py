"""The analytics core: from named table to named table, whole columns in Polars, arrays where few readings are judged. No I/O, clock or settings."""
