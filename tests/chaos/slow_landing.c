/* SPDX-License-Identifier: BSD-2-Clause */
/* slow_landing US: holds up the redirected messages of all threads called SLOW_THREAD, and each close(2) of those called SLOW_CLOSER, for so
 * long (slow_landing.bpf.c), until its standard input ends. Prints "ready", and how many there were at the end.
 */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slow_landing.skel.h"

int main(int argc, char **argv)
{
	struct slow_landing_bpf *program = slow_landing_bpf__open();
	char byte;

	if (argc != 2 || !program)
		return 1;
	program->rodata->hold_ns = strtoull(argv[1], NULL, 10) * 1000;
	program->rodata->close_number = SYS_close;
	if (slow_landing_bpf__load(program) || slow_landing_bpf__attach(program))
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	printf("{\"held\": %llu}\n", (unsigned long long)program->bss->held);
	slow_landing_bpf__destroy(program);
	return 0;
}
