# SPDX-License-Identifier: BSD-2-Clause
# The suite of tests/vm/guest.sh under other kernels, in QEMU; two boots a kernel, as each has its time.
# VM="6.1": only this kernel; PARTS="kernel order": only these parts.
.PHONY: check-vm
check-vm:
	@tests/deps install build test vm
	@+$(MAKE) --no-print-directory all tests
	@status=0; for parts in $(if $(PARTS),'$(PARTS)','' semantics); do \
		SMACCEL_BUILD='$(abspath $(B))' VM_PARTS="$$parts" tests/vm/run.sh $(VM) || status=1; done; exit $$status
