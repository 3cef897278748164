# SPDX-License-Identifier: BSD-2-Clause
# 100 seeded trials of each planted difference, over real connections: some 17 minutes. `make check` has a short form of it.
.PHONY: check-planted
check-planted:
	@[ "$$(id -u)" = 0 ] || { echo 'make check-planted: needs root' >&2; exit 1; }
	@+$(MAKE) --no-print-directory $(JOBS) all tests
	@SMACCEL_BUILD='$(abspath $(B))' python3 tests/trials/planted.py $(PLANTED)
