"""Git as a source of data: poll and fetch (`remote`), a commit's files (`tree`), signatures and the anchor (`trust`).

pygit2 is used here and nowhere else. Nothing is ever checked out.
"""
