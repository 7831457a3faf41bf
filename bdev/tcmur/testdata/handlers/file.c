/* A handler over a file: file/PATH. Two threads may call it, as with tcmu-runner's own. Its struct is static, so that only the
 * code pointers in it tell its layout. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "abi.h"

static int fd_of(struct tcmu_device *d) { return (int)(intptr_t)tcmur_dev_get_private(d) - 1; }

static bool check_file(const char *cfg, char **reason)
{
	const char *path = strchr(cfg, '/');
	if (path && path[1])
		return true;
	*reason = strdup("No path found");
	return false;
}

static int open_file(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	char *path = strchr(tcmu_dev_get_cfgstring(d), '/') + 1;
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		tcmu_err_message(d, __func__, __LINE__, "could not open %s: %m", path);
		return -errno;
	}
	tcmur_dev_set_private(d, (void *)(intptr_t)(fd + 1));
	tcmu_dev_set_write_cache_enabled(d, true);
	return 0;
}

static void close_file(struct tcmu_device *d) { close(fd_of(d)); }

static int read_file(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)c;
	for (size_t left = len; left > 0;) {
		ssize_t got = preadv(fd_of(d), iov, n, off);
		if (got < 0)
			return TCMU_STS_RD_ERR;
		if (got == 0) { /* beyond the end of a sparse file: zeroes */
			memset((char *)iov->iov_base, 0, left);
			break;
		}
		iov->iov_base = (char *)iov->iov_base + got;
		iov->iov_len -= got;
		left -= got;
		off += got;
	}
	return TCMU_STS_OK;
}

static int write_file(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)c;
	for (size_t left = len; left > 0;) {
		ssize_t put = pwritev(fd_of(d), iov, n, off);
		if (put < 0)
			return TCMU_STS_WR_ERR;
		iov->iov_base = (char *)iov->iov_base + put;
		iov->iov_len -= put;
		left -= put;
		off += put;
	}
	return TCMU_STS_OK;
}

static int flush_file(struct tcmu_device *d, struct tcmur_cmd *c)
{
	(void)c;
	return fdatasync(fd_of(d)) == 0 ? TCMU_STS_OK : TCMU_STS_WR_ERR;
}

static int unmap_file(struct tcmu_device *d, struct tcmur_cmd *c, uint64_t off, uint64_t len)
{
	(void)c;
	if (fallocate(fd_of(d), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) != 0)
		return TCMU_STS_HW_ERR;
	return TCMU_STS_OK;
}

static int reconfig_file(struct tcmu_device *d, struct tcmulib_cfg_info *cfg)
{
	(void)d;
	return cfg->type == TCMULIB_CFG_DEV_SIZE ? 0 : -EOPNOTSUPP;
}

static struct tcmur_handler handler = {
	.name = "File", .subtype = "file", .cfg_desc = "file/PATH", .nr_threads = 2, .check_config = check_file,
	.open = open_file, .close = close_file, .read = read_file, .write = write_file, .flush = flush_file,
	.unmap = unmap_file, .reconfig = reconfig_file,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler(&handler); }
