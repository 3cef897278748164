/* SPDX-License-Identifier: BSD-2-Clause */
/* Acknowledging what came by TCP before: see acknowledge.h. */
#include "acknowledge.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "quiet.h"
#include "real.h"

void acknowledge_now(struct conn *conn, int fd)
{
	int saved = errno, is_quick = 1;
	socklen_t length = sizeof(is_quick);

	if (quiet_is_on())
		return;
	if (real_getsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &is_quick, &length) == 0 && !is_quick)
		atomic_fetch_or(&conn->options, CONN_QUICKACK);
	real_setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
	errno = saved;
}

void acknowledge_set_by_application(struct conn *conn)
{
	atomic_fetch_and(&conn->options, (uint8_t)~CONN_QUICKACK);
}
