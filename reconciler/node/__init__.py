"""One node: its cycle, what is kept between two, and what it asks of its host."""
