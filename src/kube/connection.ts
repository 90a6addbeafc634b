// How the API server is reached: the contract that kubeconfig files, service accounts and plain URLs fulfil.

/** Secrets and trust, as PEM texts and header values. */
export interface KubeCredentials {
  /** Secret. Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined;
  /** Secret. Value of an Authorization header of another kind. */
  readonly authorization?: string | undefined;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  /** Secret. */
  readonly key?: string | undefined;
  /** Impersonate-User and its kin (kubeconfig `as`). */
  readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

export interface KubeConnection {
  /** Without a trailing slash; may have a path. */
  readonly baseUrl: string;
  /** Where this came from, for messages: "kubeconfig /etc/kube.conf, context admin". */
  readonly source: string;
  /** Name to ask for and to expect in the server's certificate, if not the URL's host. */
  readonly serverName?: string | undefined;
  /** The user asked for no check of the server's certificate. */
  readonly insecure?: boolean | undefined;
  /**
   * The credentials as they are now: files are read again from time to time, because kubelets rotate them.
   * @param fresh read again at once; the last ones were refused
   */
  credentials(wish?: { readonly fresh?: boolean }): Promise<KubeCredentials>;
}
