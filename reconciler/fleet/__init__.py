"""The reporter: reads the signed reports of all hosts of a site, and alone speaks for them to the forge.

`inventory` is what it needs of the site; `poll` asks the hosts; `judge` says of each what it is at the head commit (pure);
`announce` decides what is worth a request; `memory` is what survives a restart; `reporter` is one round, and `service` the
daemon; `document` and `metrics` are what it shows.
"""
