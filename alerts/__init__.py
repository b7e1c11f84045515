"""From findings to people: state machines, texts, senders. No arithmetic on energy."""
