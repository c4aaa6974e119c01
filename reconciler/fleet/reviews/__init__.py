"""The reporter reviews open merge requests itself, so that no branch's pipeline needs a token.

`queue` says which ones are due, and in which order (pure); `clone` has their commits and looks at them in a limited child;
`memory` is what survives a restart; `reviewer` is one round: list, fetch, plan as `ci review` does, post the same note and a
commit status; `loop` is when; `document` and `metrics` are what it shows.
"""
