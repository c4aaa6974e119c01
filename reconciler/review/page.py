def page(review):
    return ""
