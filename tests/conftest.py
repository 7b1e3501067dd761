pytest_plugins = ["tests.fixtures.seaweed", "tests.fixtures.server", "tests.fixtures.house"]
