"""What a stranger may write: corpora of attacks, and fuzzers that look for more. Bounded by default, longer with `-m slow`."""
