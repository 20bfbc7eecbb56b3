"""What a training shows while it runs and what it warns of; when it is stopped."""
