/**
 * @module What other programs that the gateway starts get to see of its environment: what they need, and no secret of
 * anybody's.
 */

type Environment = NodeJS.ProcessEnv;

/** Where programs and files are, in what language; Windows's own. */
const everybody =
  /^(?:PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TEMP|TMP|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|DYLD_\w+|XDG_\w+|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|USERPROFILE|HOMEDRIVE|HOMEPATH|APPDATA|LOCALAPPDATA|PROGRAMDATA|PROGRAMFILES(?:\(X86\))?|NUMBER_OF_PROCESSORS|PROCESSOR_\w+)$/iu;
/** Of llama.cpp, the libraries and drivers below it, and the memory allocator. */
const engines =
  /^(?:(?:CUDA|NVIDIA|VK|VULKAN|GGML|LLAMA|NODE_LLAMA_CPP|HIP|HSA|ROCM|ROCR|GPU|AMD|SYCL|ONEAPI|ZE|MESA|DRI|OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|MALLOC|METAL|MTL)_\w+|NODE_ENV|LD_PRELOAD|GLIBC_TUNABLES)$/u;
/** pip, the Python below it, and the way to an index. */
const packages =
  /^(?:PIP_\w+|PYTHON\w*|PYENV_\w+|VIRTUAL_ENV|CONDA_\w+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NETRC|(?:HTTP|HTTPS|ALL|NO)_PROXY|(?:http|https|all|no)_proxy)$/u;
/** Names of what nobody else should know, whatever they begin with. */
const secret = /KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH/iu;

/** For the embedded engine's process, which reads a file and answers its parent. */
export function engineEnvironment(environment: Environment): Environment {
  return only(environment, (name) => (everybody.test(name) || engines.test(name)) && !secret.test(name));
}

/** For pip, whose own settings may hold an index's password: it needs them. */
export function pipEnvironment(environment: Environment): Environment {
  return only(environment, (name) => packages.test(name) || (everybody.test(name) && !secret.test(name)));
}

function only(environment: Environment, isWanted: (name: string) => boolean): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => isWanted(name)));
}
