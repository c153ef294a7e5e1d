"""What every pull pays before it does anything: Python, its imports, reading the configuration."""

from benchmarks import pull
from benchmarks.org import configured

if __name__ == "__main__":
    assert pull.__name__
    configured()
