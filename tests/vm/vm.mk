# SPDX-License-Identifier: BSD-2-Clause
# The suite of tests/vm/guest.sh under other kernels, in QEMU. VM="6.1": only this one; PARTS="kernel order": only these.
.PHONY: check-vm
check-vm:
	@+$(MAKE) --no-print-directory all tests
	@SMACCEL_BUILD='$(abspath $(B))' VM_PARTS='$(PARTS)' tests/vm/run.sh $(VM)
