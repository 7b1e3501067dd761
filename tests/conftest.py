pytest_plugins = [
    "tests.fixtures.litestream",
    "tests.fixtures.seaweed",
    "tests.fixtures.server",
    "tests.fixtures.house",
]
