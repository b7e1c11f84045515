"""The tcewatch command, one module for each sub-command."""
