/*
 * An asynchronous handler (nr_threads 0), as rbd and glfs are: async/PATH. Callouts queue; a thread of its own carries
 * requests out in another order than they came and completes them. It has every callout, and calls some of them in the
 * ways that real handlers do: completion before the callout returns, "not handled" for a non-zero writesame, a relative
 * miscompare offset made wrong by a subtraction.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"

enum kind { READ, WRITE, FLUSH, UNMAP, SAME, CAW };

struct job {
	struct job *next;
	enum kind kind;
	struct tcmur_cmd *cmd;
	struct iovec *iov;
	size_t count;
	uint64_t off, len;
};

static struct {
	struct tcmu_device *dev;
	uint8_t *mem;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *jobs; /* last in, first out */
	bool stop;
	int locked;
	pthread_t thread;
} the = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static int compare_and_write(struct job *j)
{
	const uint8_t *cmp = j->iov[0].iov_base;
	for (uint64_t i = 0; i < j->len; i++)
		if (cmp[i] != the.mem[j->off + i]) {
			tcmu_sense_set_info(j->cmd->lib_cmd->sense_buf, (uint32_t)(i - j->off));
			return TCMU_STS_MISCOMPARE;
		}
	memcpy(the.mem + j->off, cmp + j->len, j->len);
	return TCMU_STS_OK;
}

static int carry_out(struct job *j)
{
	switch (j->kind) {
	case READ: tcmu_memcpy_into_iovec(j->iov, j->count, the.mem + j->off, j->len); return TCMU_STS_OK;
	case WRITE: tcmu_memcpy_from_iovec(the.mem + j->off, j->len, j->iov, j->count); return TCMU_STS_OK;
	case UNMAP: memset(the.mem + j->off, 0, j->len); return TCMU_STS_OK;
	case SAME:
		for (uint64_t i = 0; i < j->len; i += j->iov[0].iov_len)
			memcpy(the.mem + j->off + i, j->iov[0].iov_base, j->iov[0].iov_len);
		return TCMU_STS_OK;
	case CAW: return compare_and_write(j);
	default: return TCMU_STS_OK;
	}
}

static void *work(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&the.lock);
	while (!the.stop || the.jobs) {
		struct job *j = the.jobs;
		if (!j) {
			pthread_cond_wait(&the.more, &the.lock);
			continue;
		}
		the.jobs = j->next;
		pthread_mutex_unlock(&the.lock);
		tcmur_cmd_complete(the.dev, j->cmd, carry_out(j));
		free(j);
		pthread_mutex_lock(&the.lock);
	}
	pthread_mutex_unlock(&the.lock);
	return NULL;
}

static int queue(enum kind kind, struct tcmur_cmd *cmd, struct iovec *iov, size_t count, uint64_t off, uint64_t len)
{
	if (!the.locked)
		return TCMU_STS_HW_ERR; /* its lock was to be taken after open */
	struct job *j = malloc(sizeof *j);
	if (!j)
		return TCMU_STS_NO_RESOURCE;
	*j = (struct job){NULL, kind, cmd, iov, count, off, len};
	pthread_mutex_lock(&the.lock);
	j->next = the.jobs;
	the.jobs = j;
	pthread_cond_signal(&the.more);
	pthread_mutex_unlock(&the.lock);
	return TCMU_STS_OK;
}

static int read_async(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d;
	return queue(READ, c, iov, n, off, len);
}
static int write_async(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)d;
	return queue(WRITE, c, iov, n, off, len);
}
static int flush_async(struct tcmu_device *d, struct tcmur_cmd *c)
{
	tcmur_cmd_complete(d, c, msync(the.mem, tcmu_dev_get_num_lbas(d) * tcmu_dev_get_block_size(d), MS_ASYNC) == 0 ?
		TCMU_STS_OK : TCMU_STS_WR_ERR);
	return TCMU_STS_OK;
}
static int unmap_async(struct tcmu_device *d, struct tcmur_cmd *c, uint64_t off, uint64_t len)
{
	uint64_t gran = 8 * tcmu_dev_get_block_size(d);
	if (off % gran != 0 || len % gran != 0)
		return TCMU_STS_INVALID_CMD;
	return queue(UNMAP, c, NULL, 0, off, len);
}
static int same_async(struct tcmu_device *d, struct tcmur_cmd *c, uint64_t off, uint64_t len, struct iovec *iov, size_t n)
{
	if (off / tcmu_dev_get_block_size(d) % 2 == 1) /* so that both ways are used */
		return TCMU_STS_NOT_HANDLED;
	return queue(SAME, c, iov, n, off, len);
}
static int caw_async(struct tcmu_device *d, struct tcmur_cmd *c, uint64_t off, uint64_t len, struct iovec *iov, size_t n)
{
	(void)d;
	return queue(CAW, c, iov, n, off, len);
}
static int lock_async(struct tcmu_device *d, uint16_t tag)
{
	(void)d;
	the.locked = tag;
	return TCMU_STS_OK;
}
static int unlock_async(struct tcmu_device *d)
{
	(void)d;
	the.locked = 0;
	return TCMU_STS_OK;
}

static int open_async(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	const char *path = strchr(tcmu_dev_get_cfgstring(d), '/') + 1;
	size_t size = tcmu_dev_get_num_lbas(d) * tcmu_dev_get_block_size(d);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, size) != 0)
		return -errno;
	the.mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (the.mem == MAP_FAILED)
		return -errno;
	the.dev = d;
	tcmu_dev_set_write_cache_enabled(d, true);
	extern void tcmu_dev_set_opt_unmap_gran(struct tcmu_device *, uint32_t, bool);
	extern void tcmu_dev_set_unmap_gran_align(struct tcmu_device *, uint32_t);
	tcmu_dev_set_opt_unmap_gran(d, 8, false);
	tcmu_dev_set_unmap_gran_align(d, 8);
	return pthread_create(&the.thread, NULL, work, NULL) == 0 ? 0 : -EAGAIN;
}

static void close_async(struct tcmu_device *d)
{
	tcmu_info_message(d, __func__, __LINE__, the.locked ? "closed under its lock" : "closed without a lock");
	pthread_mutex_lock(&the.lock);
	the.stop = true;
	pthread_cond_signal(&the.more);
	pthread_mutex_unlock(&the.lock);
	pthread_join(the.thread, NULL);
	munmap(the.mem, tcmu_dev_get_num_lbas(d) * tcmu_dev_get_block_size(d));
}

struct tcmur_handler async_handler = {
	.name = "Async", .subtype = "async", .cfg_desc = "async/PATH", .nr_threads = 0,
	.open = open_async, .close = close_async, .read = read_async, .write = write_async, .flush = flush_async,
	.unmap = unmap_async, .writesame = same_async, .caw = caw_async, .lock = lock_async, .unlock = unlock_async,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler(&async_handler); }
