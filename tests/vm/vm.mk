# SPDX-License-Identifier: BSD-2-Clause
# The suite of tests/vm/guest.sh under other kernels, in QEMU: a part of `make check` (tests/list), here by itself.
# VM="6.1": only this kernel; PARTS="kernel order": only these parts.
.PHONY: check-vm
check-vm:
	@tests/deps install build test vm
	@+$(MAKE) --no-print-directory all tests
	@SMACCEL_BUILD='$(abspath $(B))' VM_PARTS='$(PARTS)' tests/vm/run.sh $(VM)
