"""The demo park: its register, figures and readings. Every name is invented and marked 示例."""
