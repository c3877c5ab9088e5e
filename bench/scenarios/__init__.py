"""One module a scenario: ORDER (where it stands in the table) and SCENARIO."""
