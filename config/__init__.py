"""What a document or a site decides, and the words that all share. No I/O but reading its own files."""
