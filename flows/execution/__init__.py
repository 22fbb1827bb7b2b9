"""Steps in processes of their own: what each is asked, how it is followed, how its result is sealed."""
