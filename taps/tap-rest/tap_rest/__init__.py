"""tap-rest: any REST API, described in one YAML file."""
