"""Where things last. The only folder that opens a database or writes derived tables."""
