"""What runs the stages: recipes, the store, Prefect flows, the command line."""
