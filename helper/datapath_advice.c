/* SPDX-License-Identifier: BSD-2-Clause */
/* What is to be done where the kernel refuses the BPF programs. */
#include <errno.h>
#include <stddef.h>

#include "datapath_internal.h"

const char *datapath_advice(int error)
{
	switch (error) {
	case -EPERM:
		return "run as root or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYSLOG";
	case -EMFILE:
	case -ENFILE:
		return "more open files are needed: raise ulimit -n, or LimitNOFILE= of the service";
	case -ENOMEM:
		return "more memory is needed: see the limits of its cgroup, and --slots";
	case -EAGAIN:
		return "more threads are needed: raise pids.max of its cgroup, or TasksMax= of the service, or ulimit "
		       "-u";
	default:
		return "Linux 6.1 or later with CONFIG_DEBUG_INFO_BTF is needed; --verbose shows why";
	}
}

#define KERNEL_ENOTSUPP 524 /* not EOPNOTSUPP, and in no header */

bool datapath_is_kernels_fault(int error)
{
	static const int faults[] = {
		EINVAL,         EACCES /* the verifier's */, ESRCH /* no BTF */, ENOENT, ENOSYS, E2BIG, EOPNOTSUPP,
		KERNEL_ENOTSUPP
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (error == -faults[i])
			return true;
	return false;
}
