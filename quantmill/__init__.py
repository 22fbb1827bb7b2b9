"""What users of releases import beside the stock clients. Nothing that is judged is loaded with it."""
