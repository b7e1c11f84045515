"""What people and machines see: commands, API, pages."""
