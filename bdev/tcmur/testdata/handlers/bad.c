/*
 * A handler that misbehaves: bad/MODE@PATH. Its data is in the file PATH. A request for the byte at 1 MiB does what MODE says:
 * each time, or, for MODE with "1" at its end, once (PATH.done remembers). Everything else works.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi.h"

#define TRIGGER (1 << 20)

static struct {
	struct tcmu_device *dev;
	char mode[32], path[1024];
	bool once;
	int fd;
} the;

#pragma GCC diagnostic ignored "-Winfinite-recursion"
static volatile int sink;
static volatile int *volatile nowhere;
static int overflow(int depth)
{
	char frame[4096];
	memset(frame, depth, sizeof frame);
	sink = frame[depth % sizeof frame];
	return overflow(depth + 1) + frame[sink & 1];
}

/* region finds the memory that is shared with the target. */
static uint8_t *region(size_t *size)
{
	char line[512];
	unsigned long from, to;
	FILE *f = fopen("/proc/self/maps", "r");
	*size = 0;
	while (f && fgets(line, sizeof line, f))
		if (strstr(line, "memfd:pollux") && sscanf(line, "%lx-%lx", &from, &to) == 2) {
			*size = to - from;
			break;
		}
	if (f)
		fclose(f);
	return (uint8_t *)from;
}

static void *scribble(void *arg)
{
	(void)arg;
	size_t size;
	uint8_t *p = region(&size);
	uint32_t x = getpid() | 1;
	size_t rings = size < (256 << 10) ? size : 256 << 10; /* where the queues are: there most of the time */
	for (unsigned n = 0; size > 0; n++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		p[n % 64 == 0 ? x % size : x % rings] = x >> 8;
		if (n % 4096 == 0)
			usleep(50);
	}
	return NULL;
}

__attribute__((noreturn)) static void *complain(void *arg)
{
	extern void tcmu_notify_cmd_timed_out(struct tcmu_device *);
	(void)arg;
	for (;;)
		tcmu_notify_cmd_timed_out(the.dev);
}

__attribute__((noreturn)) static void *flood(void *arg)
{
	(void)arg;
	for (unsigned long n = 0;; n++)
		tcmu_err_message(NULL, "flood", 1, "line %lu of very many, which nobody will want to read", n);
}

static int truncate_region(void)
{
	/* Through any descriptor that is left, and through /proc. */
	int bad = 0;
	char path[64];
	for (int fd = 3; fd < 256; fd++)
		bad += fd != the.fd && ftruncate(fd, 0) == 0;
	size_t size;
	uint8_t *p = region(&size);
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)p, (unsigned long)(p + size));
	int fd = open(path, O_RDWR);
	bad += fd >= 0 && ftruncate(fd, 0) == 0;
	return bad;
}

static void start(void *(*fn)(void *))
{
	pthread_t t;
	pthread_create(&t, NULL, fn, NULL);
}

static int misbehave(void)
{
	if (the.once) {
		char done[1100];
		snprintf(done, sizeof done, "%s.done", the.path);
		int fd = open(done, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd < 0)
			return TCMU_STS_OK;
		close(fd);
	}
	const char *m = the.mode;
	if (strcmp(m, "segv") == 0) *nowhere = 1;
	if (strcmp(m, "abort") == 0) abort();
	if (strcmp(m, "overflow") == 0) return overflow(0);
	if (strcmp(m, "sleep") == 0) sleep(3600);
	if (strcmp(m, "loop") == 0) for (;;) sink++;
	if (strcmp(m, "exit") == 0) _exit(0);
	if (strcmp(m, "killgroup") == 0) kill(0, SIGTERM), kill(getppid(), SIGKILL), kill(-1, SIGUSR1);
	if (strcmp(m, "fork") == 0) for (int i = 0; i < 50; i++) if (fork() == 0) for (;;) pause();
	if (strcmp(m, "truncate") == 0 && truncate_region() != 0) abort();
	if (strcmp(m, "close") == 0) for (int fd = 0; fd < 1024; fd++) if (fd != the.fd) close(fd);
	if (strcmp(m, "flood") == 0) start(flood);
	if (strcmp(m, "complain") == 0) start(complain);
	if (strcmp(m, "regroup") == 0 && (setsid() > 0 || setpgid(0, getpgid(getppid())) == 0)) abort();
	if (strcmp(m, "grow") == 0) tcmur_dev_update_size(the.dev, 8 << 20);
	if (strcmp(m, "scribble") == 0) start(scribble);
	if (strcmp(m, "lost") == 0) tcmu_notify_lock_lost(NULL);
	if (strcmp(m, "fenced") == 0) return TCMU_STS_FENCED;
	return TCMU_STS_OK;
}

static int trigger(size_t len, off_t off)
{
	return off <= TRIGGER && (size_t)(TRIGGER - off) < len ? misbehave() : TCMU_STS_OK;
}

static int open_bad(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	if (sscanf(tcmu_dev_get_cfgstring(d), "bad/%31[^@]@%1023s", the.mode, the.path) != 2)
		return -EINVAL;
	size_t n = strlen(the.mode);
	if (the.mode[n - 1] == '1') {
		the.once = true;
		the.mode[n - 1] = 0;
	}
	the.dev = d;
	if (strcmp(the.mode, "noopen") == 0)
		return -EIO;
	if (strcmp(the.mode, "cached") == 0)
		tcmu_dev_set_write_cache_enabled(d, true);
	if (strcmp(the.mode, "oddblocks") == 0)
		tcmu_dev_set_block_size(d, 1000);
	if (strcmp(the.mode, "nosize") == 0)
		tcmu_dev_set_num_lbas(d, 0);
	if (strcmp(the.mode, "hangopen") == 0)
		sleep(3600);
	the.fd = open(the.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	return the.fd < 0 ? -errno : 0;
}

/* meet returns when as many devices are being closed as have files beside PATH. */
static void meet(void)
{
	char name[1100];
	snprintf(name, sizeof name, "%s.closing", the.path);
	close(open(name, O_CREAT | O_WRONLY, 0600));
	for (size_t disks = 1, closing = 0; closing < disks; usleep(1000)) {
		glob_t all, ready;
		snprintf(name, sizeof name, "%.*s/*", (int)(strrchr(the.path, '/') - the.path), the.path);
		glob(name, 0, NULL, &all);
		strcat(name, ".closing");
		closing = glob(name, 0, NULL, &ready) == 0 ? ready.gl_pathc : 0;
		disks = all.gl_pathc - closing;
		globfree(&all);
		globfree(&ready);
	}
}

static void close_bad(struct tcmu_device *d)
{
	(void)d;
	if (strcmp(the.mode, "hangclose") == 0)
		sleep(3600);
	if (strcmp(the.mode, "meet") == 0)
		meet();
}

static int reconfig_bad(struct tcmu_device *d, struct tcmulib_cfg_info *cfg)
{
	(void)d, (void)cfg;
	return misbehave() == TCMU_STS_OK ? 0 : -EIO;
}

static int read_bad(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)n;
	int status = trigger(len, off);
	if (status != TCMU_STS_OK)
		return status;
	memset(iov->iov_base, 0, len);
	return pread(the.fd, iov->iov_base, len, off) >= 0 ? TCMU_STS_OK : TCMU_STS_RD_ERR;
}

static int write_bad(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d, (void)c, (void)n;
	int status = trigger(len, off);
	if (status != TCMU_STS_OK)
		return status;
	return pwrite(the.fd, iov->iov_base, len, off) == (ssize_t)len ? TCMU_STS_OK : TCMU_STS_WR_ERR;
}

static int caw_bad(struct tcmu_device *d, struct tcmur_cmd *c, uint64_t off, uint64_t len, struct iovec *iov, size_t n)
{
	(void)d, (void)n;
	uint8_t *compare = iov->iov_base, there[len];
	int status = trigger(len, off);
	if (status != TCMU_STS_OK)
		return status;
	memset(there, 0, len);
	if (pread(the.fd, there, len, off) < 0)
		return TCMU_STS_RD_ERR;
	for (uint32_t i = 0; i < len; i++)
		if (there[i] != compare[i]) {
			tcmu_sense_set_info(c->lib_cmd->sense_buf, i);
			return TCMU_STS_MISCOMPARE;
		}
	return pwrite(the.fd, compare + len, len, off) == (ssize_t)len ? TCMU_STS_OK : TCMU_STS_WR_ERR;
}

struct tcmur_handler bad_handler = {
	.name = "Misbehaving", .subtype = "bad", .cfg_desc = "bad/MODE@PATH", .nr_threads = 1,
	.open = open_bad, .close = close_bad, .reconfig = reconfig_bad, .read = read_bad, .write = write_bad,
	.caw = caw_bad,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler(&bad_handler); }
