/* SPDX-License-Identifier: BSD-2-Clause */
/* kTLS on a connection that is in use already: both ends talk in the clear, then the kernel gets keys, then they talk on.
 *
 *   ktls GO    prints "keyed" when the keys are set, and waits until the file GO exists, so that the test can look
 *
 * Both ends are in this process, which wants a kernel with the tls module. The bytes in the clear are all read before the keys
 * are set, as a handshake sees to.
 */
#define _GNU_SOURCE
#include <linux/tls.h>

#include "../support/loopback.h"
#include "../support/redirecting.h"

#define CLEAR_TURNS 60
#define TLS_TURNS 40
#define TURN_BYTES 3000
#define PAUSE_US 2000
#define DEADLINE_S 60

#ifndef TCP_ULP
#define TCP_ULP 31
#endif

static void set_keys(int fd, int direction, unsigned char salt)
{
	struct tls12_crypto_info_aes_gcm_128 keys = { .info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 } };

	memset(keys.key, salt, sizeof(keys.key));
	memset(keys.salt, salt + 1, sizeof(keys.salt));
	memset(keys.iv, salt + 2, sizeof(keys.iv));
	if (setsockopt(fd, SOL_TLS, direction, &keys, sizeof(keys)) < 0)
		die("TLS_%s", direction == TLS_TX ? "TX" : "RX");
}

static void use_tls(int fd, unsigned char out_salt, unsigned char in_salt)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
		die("TCP_ULP");
	set_keys(fd, TLS_TX, out_salt);
	set_keys(fd, TLS_RX, in_salt);
}

static void talk(int from, int to, unsigned turn)
{
	static unsigned char out[TURN_BYTES], in[TURN_BYTES];

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 3 + turn);
	if (write_whole(from, out, sizeof(out)) < 0 || read_whole(to, in, sizeof(in)) < 0)
		die("turn %u", turn);
	if (memcmp(in, out, sizeof(in)) != 0) {
		fprintf(stderr, "wrong bytes in turn %u\n", turn);
		_exit(EXIT_WRONG);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	int one, other;

	loopback_pair(&one, &other);
	bool redirecting = !is_preloaded();
	for (unsigned i = 0; i < CLEAR_TURNS || (!redirecting && i < REDIRECTING_TURNS_MAX); i++) {
		uint64_t before = received_by_tcp(one) + received_by_tcp(other);

		talk(one, other, 2 * i);
		talk(other, one, 2 * i + 1);
		redirecting = !is_preloaded() || received_by_tcp(one) + received_by_tcp(other) == before;
		usleep(PAUSE_US);
	}
	use_tls(one, 10, 20);
	use_tls(other, 20, 10);
	printf("keyed\n");
	fflush(stdout);
	while (access(argv[1], F_OK) < 0)
		usleep(10000);
	for (unsigned i = 0; i < TLS_TURNS; i++) {
		talk(one, other, i);
		talk(other, one, i + 100);
	}
	return 0;
}
