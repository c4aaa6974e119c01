"""When a host of many may act: waves, budgets and permits, agreed upon through etcd. It decides *when*, never *what*.

`policy` says what Git declares, `records` what the store holds, `decide` what one host does next. These are pure.
"""
